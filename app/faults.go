package app

import (
	"errors"

	"holdfast/base/fault"
)

// IsUsage reports whether err is a mistake of the caller or of a configuration.
func IsUsage(err error) bool {
	_, usage := errors.AsType[*fault.Usage](err)
	_, config := errors.AsType[Mistakes](err)
	return usage || config
}
