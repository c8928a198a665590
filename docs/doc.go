// Package docs holds the tests of these pages: what they show is run.
package docs
