//go:build !unix

package app

// openFiles is not limited here.
func openFiles() int { return unlimitedFiles }
