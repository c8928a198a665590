//go:build !chaos

package chaos

// whole: see the other file of this constant.
const whole = false
