//go:build unix

package app

import "syscall"

// openFiles is how many files this process may have open.
func openFiles() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return unlimitedFiles
	}
	return int(min(uint64(l.Cur), unlimitedFiles)) //nolint:unconvert // signed on some systems
}
