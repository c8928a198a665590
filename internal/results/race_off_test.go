//go:build !race

package results_test

const raceDetector = false
