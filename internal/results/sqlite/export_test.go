package sqlite

// Queries whose plans are checked.
var (
	Lists           = lists
	SelectAbandoned = selectAbandoned
	SelectForgotten = selectForgotten
	SelectFlagged   = selectFlagged
	ListLane        = listLane
)
