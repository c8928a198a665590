//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package sqlitedb

import (
	"errors"
	"os"
)

// lockFile refuses: without a lock that dies with its process the embedded
// store is not safe.
func lockFile(string) (*os.File, error) {
	return nil, errors.New("the embedded store is not supported on this system")
}

func unlock(f *os.File) error { return f.Close() }
