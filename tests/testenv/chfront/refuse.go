package main

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// ClickHouse's error codes that the door itself gives.
const (
	codeCannotReadAllData    = 33
	codeNotImplemented       = 48
	codeReadonly             = 164
	codeSameQueryID          = 216
	codeAuthenticationFailed = 516
)

var codeNames = map[int]string{
	codeCannotReadAllData:    "CANNOT_READ_ALL_DATA",
	codeNotImplemented:       "NOT_IMPLEMENTED",
	codeReadonly:             "READONLY",
	codeSameQueryID:          "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
	codeAuthenticationFailed: "AUTHENTICATION_FAILED",
}

// failure is a refusal in ClickHouse's form.
func failure(code int, format string, args ...any) error {
	return &engineError{code: code, text: fmt.Sprintf("Code: %d. DB::Exception: %s. (%s)",
		code, fmt.Sprintf(format, args...), codeNames[code])}
}

// status is the HTTP status that a ClickHouse server gives with an error code.
func status(code int) int {
	switch code {
	case codeAuthenticationFailed, 192, 193, 194, 497:
		return http.StatusForbidden
	case 16, 46, 47, 50, 60, 63, 65, 70, 81, 115:
		return http.StatusNotFound
	case 6, 26, 27, 33, 38, 41, 53, 57, 62, 69, 72, 117, 131, 321:
		return http.StatusBadRequest
	case codeNotImplemented:
		return http.StatusNotImplemented
	case 159:
		return http.StatusRequestTimeout
	case 202, 439:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func refuse(w http.ResponseWriter, err error) {
	code := 0
	if failed := (*engineError)(nil); errors.As(err, &failed) {
		code = failed.code
	}
	if code != 0 {
		w.Header().Set("X-ClickHouse-Exception-Code", strconv.Itoa(code))
	}
	http.Error(w, err.Error(), status(code))
}
