package results

import (
	"context"

	"github.com/taskgate/taskgate/internal/task"
)

// Usages tells what a project's rows take up.
type Usages interface {
	// Usage counts the project's live rows and sums up the Bytes of their
	// indexes, and apart from them those of rows that are not live. It is as
	// exact as the rows when all of them are removed by swaps; what a TTL
	// removed may count for up to a day, and not longer.
	Usage(ctx context.Context, project string) (task.Usage, error)
}

// Usage tells what a project uses of its quotas.
func (s *Store) Usage(ctx context.Context, project string) (task.Usage, error) {
	u, err := s.d.Usage(ctx, project)
	return u, fail(err)
}
