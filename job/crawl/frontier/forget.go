package frontier

import "holdfast/kernel/store"

// Forget removes all that a frontier knows. It is for a store whose frontier is not open.
func Forget(tx *store.Tx) {
	all := store.Key{byte(store.Job), 'F'}
	tx.DeleteRange(all, all.End())
}
