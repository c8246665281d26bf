package postgres

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"holdfast/base/fault"
	"holdfast/connector/delivered"
)

// classify gives err its kind; verb says what was tried with the table. A fault stays one.
func (s *Sink) classify(verb string, err error) error { return classify(s.target, verb, err) }

func classify(target, verb string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	kind, hint := kindOf(err)
	out := error(fault.New(kind, "%s table %s: %w", verb, target, err))
	if hint != "" {
		out = fault.WithHint(out, "%s", hint)
	}
	return out
}

// kindOf is what an error means for us. What did not come from the server is an outage: the
// network, a time-out, a server that is not there.
func kindOf(err error) (fault.Kind, string) {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(e.Code) != 5 {
		return fault.Transient, ""
	}
	switch e.Code {
	case "25006":
		return fault.Transient, "this server is read-only, a standby perhaps; several hosts and " +
			"target_session_attrs=read-write in the dsn find the one that is not"
	case "42501":
		return fault.Permanent, "the user needs USAGE on the schema, SELECT and INSERT on the table (with " +
			"`replace` DELETE too), SELECT, INSERT and DELETE on " + delivered.Table + ", TEMPORARY on the " +
			"database, and CREATE on the schema for a table that is missing"
	case "3D000":
		return fault.Permanent, "create the database, or name another one in the dsn"
	case "3F000":
		return fault.Permanent, "create the schema, or name another one"
	case "53100":
		return fault.Full, ""
	case "54000", "P0001": // a key too long for an index; a trigger that raises an exception
		return fault.Invalid, ""
	case "XX001", "XX002":
		return fault.Corrupt, "the server found its own files damaged; see its log"
	}
	return kindOfClass(e.Code[:2]), ""
}

// kindOfClass is what the class of a code means. What is not here (08 connection, 40 rollback, 53
// resources, 55 locks, 57 operator, 58 system, XX internal, and what is new) is worth another
// attempt, after a Prepare that names what is wrong for good.
func kindOfClass(class string) fault.Kind {
	switch class {
	case "22", "23", "44": // data, constraints, a view's check
		return fault.Invalid
	case "28":
		return fault.Credentials
	case "0A", "42":
		return fault.Permanent
	}
	return fault.Transient
}
