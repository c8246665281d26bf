package secret

import "testing"

func TestMask(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "no URL a@b": "no URL a@b",
		`ask http://me:geheim@db:8123/x: refused`:          `ask http://***@db:8123/x: refused`,
		`got "https://token@host/?a=1", and http://h/@you`: `got "https://***@host/?a=1", and http://h/@you`,
		"nats://a:b@c@host nats://host":                    "nats://***@host nats://host",
		"sftp://me@host/dir sftp://me:pw@host":             "sftp://me@host/dir sftp://me:***@host",
		"http://host:80/a:b@c?d=e@f":                       "http://host:80/a:b@c?d=e@f",
		"http://${USER}:${PASS}@host/":                     "http://${USER}:${PASS}@host/",
		"http://${USER}:geheim@host/":                      "http://***@host/",
		"want postgres://user:password@host:port/database": "want postgres://user:password@host:port/database",
		"mailto:me@host and http://@host":                  "mailto:me@host and http://@host",
	} {
		if got := Mask(in); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", in, got, want)
		}
		if got := Mask(Mask(in)); got != Mask(in) {
			t.Errorf("masked twice: %s", got)
		}
	}
}
