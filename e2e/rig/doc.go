// Package rig runs the real thing for tests that hurt it: our programs as
// processes that can be killed and started again on their addresses, and
// servers of their own that end with the test, even when that is killed.
//
// Nothing here knows what is tested. The environment is passed in, and every
// wait has an end.
package rig
