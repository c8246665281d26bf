package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"holdfast/base/fault"
	"holdfast/base/visible"
)

// throttled is how long a store is left alone that asks for it, and does not say how long.
const throttled = 5 * time.Second

// isCode reports whether a store answered with one of the codes.
func isCode(err error, codes ...string) bool {
	e, ok := errors.AsType[minio.ErrorResponse](err)
	return ok && slices.Contains(codes, e.Code)
}

// isStatus reports whether a store answered with that status.
func isStatus(err error, status int) bool {
	e, ok := errors.AsType[minio.ErrorResponse](err)
	return ok && e.StatusCode == status
}

func isNotFound(err error) bool {
	return isStatus(err, http.StatusNotFound) && !isCode(err, minio.NoSuchBucket)
}

// forbidden reports whether these keys may not do something that others may be able to.
func forbidden(err error) bool { return isCode(err, minio.AccessDenied) }

// meaning is what an answer says.
type meaning struct {
	kind fault.Kind
	hint string
}

const (
	askKeys = "check access_key and secret_key"
	askTime = "set the clock of this machine"
	askHome = "check region and endpoint"
)

var meanings = map[string]meaning{
	"NoSuchBucket":                   {fault.Permanent, "create the bucket, or correct its name"},
	"InvalidBucketName":              {fault.Permanent, "correct the name of the bucket"},
	"NoSuchKey":                      {fault.NotFound, ""},
	"NoSuchUpload":                   {fault.Transient, ""}, // somebody aborted it; it is begun anew
	"AccessDenied":                   {fault.Credentials, "the keys need s3:PutObject, s3:GetObject and s3:ListBucket there"},
	"AllAccessDisabled":              {fault.Credentials, askKeys},
	"AccountProblem":                 {fault.Credentials, askKeys},
	"InvalidAccessKeyId":             {fault.Credentials, askKeys},
	"SignatureDoesNotMatch":          {fault.Credentials, askKeys},
	"InvalidToken":                   {fault.Credentials, askKeys},
	"ExpiredToken":                   {fault.Credentials, "the session is over; give new keys"},
	"RequestTimeTooSkewed":           {fault.Transient, askTime},
	"AuthorizationHeaderMalformed":   {fault.Permanent, askHome},
	"PermanentRedirect":              {fault.Permanent, askHome},
	"InvalidRegion":                  {fault.Permanent, askHome},
	"SlowDown":                       {fault.Throttled, ""},
	"SlowDownRead":                   {fault.Throttled, ""},
	"SlowDownWrite":                  {fault.Throttled, ""},
	"Throttling":                     {fault.Throttled, ""},
	"ThrottlingException":            {fault.Throttled, ""},
	"RequestLimitExceeded":           {fault.Throttled, ""},
	"TooManyRequests":                {fault.Throttled, ""},
	"QuotaExceeded":                  {fault.Full, "raise the quota of the bucket, or remove something"},
	"XMinioAdminBucketQuotaExceeded": {fault.Full, "raise the quota of the bucket, or remove something"},
	"XMinioStorageFull":              {fault.Full, ""},
	"StorageFull":                    {fault.Full, ""},
	"InsufficientStorage":            {fault.Full, ""},
	"InsufficientCapacity":           {fault.Full, ""},
	"BadDigest":                      {fault.Corrupt, ""},
	"InvalidDigest":                  {fault.Corrupt, ""},
	"XAmzContentSHA256Mismatch":      {fault.Corrupt, ""},
	"XAmzContentChecksumMismatch":    {fault.Corrupt, ""},
	"KeyTooLongError":                {fault.Invalid, ""},
	"InvalidObjectName":              {fault.Invalid, ""},
	"XMinioInvalidObjectName":        {fault.Invalid, ""},
	"EntityTooLarge":                 {fault.Invalid, "the store takes no file so large"},
	"XMinioParentIsObject":           {fault.Conflict, ""},
	"XMinioObjectExistsAsDirectory":  {fault.Conflict, ""},
	"PreconditionFailed":             {fault.Conflict, ""},
	"ConditionalRequestConflict":     {fault.Transient, ""},
	"OperationAborted":               {fault.Transient, ""},
	"RequestTimeout":                 {fault.Transient, ""},
	"InternalError":                  {fault.Transient, ""},
	"ServiceUnavailable":             {fault.Transient, ""},
	"InvalidPart":                    {fault.Transient, ""}, // it is sent again
}

// means gives an answer its meaning: by its code, and by its status if the code is not known.
func means(e minio.ErrorResponse) meaning {
	if m, ok := meanings[e.Code]; ok {
		return m
	}
	switch s := e.StatusCode; {
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		return meaning{fault.Credentials, askKeys}
	case s == http.StatusTooManyRequests:
		return meaning{fault.Throttled, ""}
	case s == http.StatusInsufficientStorage:
		return meaning{fault.Full, ""}
	case s == http.StatusNotFound:
		return meaning{fault.NotFound, ""}
	case s == http.StatusNotImplemented:
		return meaning{fault.Permanent, "the store does not know the request"}
	case s >= 300 && s < 400:
		return meaning{fault.Permanent, askHome}
	case s >= 400 && s < 500 && s != http.StatusRequestTimeout && s != http.StatusConflict:
		return meaning{fault.Permanent, ""}
	}
	return meaning{fault.Transient, ""}
}

// classify gives err its kind. The context tells a call that was given up from one that took too long.
func (b *Bucket) classify(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	what = visible.Text(strings.ToValidUTF8(what, "?"), "")
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	if _, known := errors.AsType[*fault.Error](err); known {
		return fmt.Errorf("%s: %w", what, err)
	}
	e, ok := errors.AsType[minio.ErrorResponse](err)
	if !ok {
		if _, bad := errors.AsType[*tls.CertificateVerificationError](err); bad {
			return fault.WithHint(fault.New(fault.Permanent, "%s: %w", what, err),
				"let this machine trust the authority of the store's certificate")
		}
		return fault.New(fault.Transient, "%s: %w", what, err)
	}
	m := means(e)
	var out error = fault.New(m.kind, "%s: %s: %w", what, e.Code, err)
	if m.kind == fault.Throttled {
		out = fault.WithWait(out, throttled)
	}
	if m.hint != "" {
		out = fault.WithHint(out, "%s", m.hint)
	}
	return out
}
