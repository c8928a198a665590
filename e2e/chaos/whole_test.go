//go:build chaos

package chaos

// whole: every scenario in full, as `make chaos` runs them.
const whole = true
