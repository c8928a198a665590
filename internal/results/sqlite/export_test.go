package sqlite

// Queries whose plans are checked.
var (
	Lists           = lists
	ListDocuments   = listDocuments
	SelectAbandoned = selectAbandoned
	SelectForgotten = selectForgotten
	SelectFlagged   = selectFlagged
	ListLane        = listLane
)
