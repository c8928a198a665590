// Package deployments has no code: its tests check the files of this folder
// against the programs. docs/operations.md tells how they are used.
package deployments
