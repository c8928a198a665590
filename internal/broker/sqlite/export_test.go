package sqlite

// Queries whose plans are checked.
const (
	SelectDue  = selectDue
	SelectNext = selectNext
)
