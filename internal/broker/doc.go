// Package broker carries tasks' messages: a portable [Queue] over a narrow
// [Driver]. The driver's comments are its contract; package brokertest proves
// each of them for every driver.
package broker
