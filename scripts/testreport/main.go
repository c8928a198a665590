// Command testreport reads the stream of `go test -json`, prints what a reader needs (failures,
// the closing line of each package, counts) and fails when a test failed or when a test of the
// services was skipped although they are required.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	save := flag.String("save", "", "file that gets a copy of the stream")
	flag.Parse()

	if err := realMain(*save, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
}

func realMain(save string, in io.Reader, out io.Writer) (err error) {
	if save != "" {
		file, createErr := os.Create(save)
		if createErr != nil {
			return fmt.Errorf("create the copy: %w", createErr)
		}
		defer func() {
			if closeErr := file.Close(); err == nil && closeErr != nil {
				err = fmt.Errorf("close the copy: %w", closeErr)
			}
		}()
		in = io.TeeReader(in, file)
	}
	required := os.Getenv("TASKGATE_REQUIRE_SERVICES") == "1"

	return newReport(out, required).read(in)
}
