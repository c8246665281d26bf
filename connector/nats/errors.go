package nats

import (
	"errors"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast/base/fault"
)

// classify gives err its kind; verb says what was tried with the stream. A fault stays one.
func (s *Sink) classify(verb string, err error) error {
	return classify(verb+" stream "+s.cfg.Stream, err)
}

func classify(what string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	kind, hint := kindOf(err)
	out := error(fault.New(kind, "%s: %w", what, err))
	if hint != "" {
		out = fault.WithHint(out, "%s", hint)
	}
	return out
}

// refusals are the errors by which a server refuses who we are.
var refusals = []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked,
	nats.ErrAccountAuthExpired}

// kindOf is what an error means for us. What the server did not say is an outage: the network, a
// time-out, a server that is not there, a stream without a leader.
func kindOf(err error) (fault.Kind, string) {
	for _, refusal := range refusals {
		if errors.Is(err, refusal) {
			return fault.Credentials, "check user and password, token or credentials"
		}
	}
	if errors.Is(err, nats.ErrPermissionViolation) {
		return fault.Permanent, "the user may publish to and subscribe less than is needed: $JS.API.>, " +
			"_INBOX.> and the subject"
	}
	if e, ok := errors.AsType[*jetstream.APIError](err); ok {
		return kindOfAnswer(e)
	}
	return fault.Transient, ""
}

// The codes of JetStream that the client library has no name for.
const (
	codeAccountLimits   = 10002
	codeUnavailable     = 10008
	codeNoResources     = 10023
	codeNoMemory        = 10028
	codeNoStorage       = 10047
	codeReplicas        = 10074
	codeStoreFailed     = 10077
	codeTooManyRequests = 10167
)

func kindOfAnswer(e *jetstream.APIError) (fault.Kind, string) {
	switch e.ErrorCode {
	case jetstream.JSErrCodeStreamNotFound:
		return fault.Permanent, "create the stream, or set create: true"
	case jetstream.JSErrCodeJetStreamNotEnabled, jetstream.JSErrCodeJetStreamNotEnabledForAccount:
		return fault.Permanent, "switch JetStream on, for the account too"
	case codeAccountLimits, codeNoResources, codeNoMemory, codeNoStorage:
		return fault.Full, "the server or the account has no room left for streams"
	case codeStoreFailed:
		// "maximum messages exceeded" and the like; all else that failed to be stored is an outage.
		if strings.HasPrefix(e.Description, "maximum ") {
			return fault.Full, "the stream is at its limit and discards new messages"
		}
		return fault.Transient, ""
	case codeReplicas:
		return fault.Permanent, "one server alone keeps no replicas; set replicas: 1"
	case codeUnavailable, codeTooManyRequests:
		return fault.Transient, ""
	}
	if e.Code >= 500 {
		return fault.Transient, ""
	}
	return fault.Permanent, ""
}
