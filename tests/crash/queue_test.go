package crash

import (
	"fmt"

	"holdfast/kernel/store"
)

func (m *model) task(c change) error { return fmt.Errorf("unknown change %q", c.Kind) }

func (m *model) compareTasks(store.Reader) error { return nil }
