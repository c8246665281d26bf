package site

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// statuses are answers that no one expects.
func (n *Nasty) statuses() {
	h := n.main
	for _, status := range []int{201, 202, 203, 300, 400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 413, 414, 418, 421, 422,
		451, 499, 500,
		501, 505, 511, 599, 999} {
		path := "/status/" + strconv.Itoa(status)
		body := fmt.Sprintf("<p>This is %d", status)
		fields := "Content-Type: text/html\r\n"
		switch status {
		case 401:
			fields += "WWW-Authenticate: Basic realm=\"x\"\r\n"
		case 407:
			fields += "Proxy-Authenticate: Basic realm=\"x\"\r\n"
		}
		c := n.on(h, path, "a status that says no, or nothing, or that does not exist: archived as it is", gives(status, fields, body))
		c.ends(status).pays(body)
		if status >= 500 {
			c.Most = 1 + Retries // to ask once more is no fault
		}
	}
	n.on(h, "/status/204", "no content, and no body", says("HTTP/1.1 204 No Content\r\n\r\n", 204)).ends(204)
	n.on(h, "/status/204-body", "no content, and a body all the same: it is no part of this answer, and of no other",
		says("HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nbody", 204)).ends(204)
	n.on(h, "/status/205", "reset your form, whatever that is", gives(205, "", "")).ends(205)
	n.on(h, "/status/206", "a part that nobody asked for: archived as a part",
		gives(206, "Content-Type: text/plain\r\nContent-Range: bytes 0-3/100\r\n", "part")).ends(206).pays("part")
	n.on(h, "/status/304", "not modified, to one who has nothing: archived as what it is, if at all",
		says("HTTP/1.1 304 Not Modified\r\n\r\n", 304)).ends(304).Archived = May
	n.on(h, "/status/304-length", "not modified, with a length, which is not that of a body that follows",
		says("HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n", 304)).ends(304).Archived = May
	switched := n.on(h, "/status/101", "another protocol from here on, which nobody asked for",
		closes("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n\x00\x01\x02", 101))
	switched.noAnswer(101, -3).Archived = May
	for _, line := range []string{"HTTP/1.1 99 Too Small", "HTTP/1.1 2000 Too Large", "HTTP/1.1 -1 Negative", "http/1.1 200 ok",
		"ICY 200 OK"} {
		path := fmt.Sprintf("/status/line-%d", len(n.cases))
		n.on(h, path, "a status line that is none: "+line, closes(line+"\r\nContent-Length: 4\r\n\r\nbody", 0)).noAnswer(-3,
			200).Archived = May
	}
}

// later are servers that ask for patience.
func (n *Nasty) later() {
	busy := func(status int, after func() string, then time.Duration, why string) {
		h := n.host()
		c := n.on(h, "/later", why, func(x *exchange) bool {
			if x.turn == 1 {
				return x.answer(status, after(), "come back later")
			}
			return x.page("<p>good now")
		})
		c.Least, c.Most, c.Gap, c.Status = 1, 1+Retries, then, []int{200, status}
	}
	busy(429, func() string { return "Retry-After: 1\r\n" }, time.Second,
		"429 and a second to wait, then good: asked again, and not before")
	busy(503, func() string { return "Retry-After: 1\r\n" }, time.Second,
		"503 and a second to wait, then good: asked again, and not before")
	busy(429, func() string {
		return "Retry-After: " + time.Now().Add(2*time.Second).UTC().Format(http.TimeFormat) + "\r\n"
	}, time.Second, "429 and a time of day, 1 to 2 s from now, then good: asked again, and not before")
	busy(503, func() string { return "" }, 0, "503 once, then good")
	for _, value := range []string{"-1", "soon", "999999999999999999999", "Thu, 01 Jan 1970 00:00:00 GMT", "1.5"} {
		busy(429, func() string { return "Retry-After: " + value + "\r\n" }, 0, "429 and a time to wait that makes no sense: "+value)
	}
	always := n.alone("/always", "503 for ever: given up, archived as it is, and no reason to go on for ever", gives(503, "",
		"never"))
	always.ends(503).Most = 1 + Retries
}
