package clickhouse

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"holdfast/base/fault"
	"holdfast/base/secret"
)

var userName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// SetupReadOnly makes a user who may read the configured database and change nothing, or gives one
// that is there this password. cfg's own user must be allowed to make users. Where the server takes
// users only from its users.xml (before 20.5), the error's hint is the text to put there.
func SetupReadOnly(ctx context.Context, cfg Config, user string, password secret.Text) error {
	if cfg.Table == "" {
		cfg.Table = "none" // only the database matters here
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	if !userName.MatchString(user) {
		return fault.New(fault.Permanent, "clickhouse: user %q: want letters, digits and _", user)
	}
	if password == "" {
		return fault.New(fault.Permanent, "clickhouse: user %s: the password is empty", user)
	}
	cfg = cfg.WithDefaults()
	base, err := url.Parse(cfg.URL)
	if err != nil {
		return fmt.Errorf("parse url: %w", err)
	}
	c := newClient(cfg, base)
	defer c.closeIdle()
	// The hash, so that the password is in no log of queries.
	identified := fmt.Sprintf(" IDENTIFIED WITH sha256_hash BY '%X' SETTINGS readonly = 1",
		sha256.Sum256([]byte(password.Reveal())))
	for _, sql := range []string{
		"CREATE USER IF NOT EXISTS " + name(user) + identified,
		"ALTER USER " + name(user) + identified,
		"GRANT SELECT ON " + name(cfg.Database) + ".* TO " + name(user),
	} {
		if _, err := c.ask(ctx, sql); err != nil {
			return explain(err, cfg, user, password)
		}
	}
	return nil
}

// explain adds what a person can do when the server does not make users.
func explain(err error, cfg Config, user string, password secret.Text) error {
	switch code(err) {
	case 62: // a syntax error: the server does not know CREATE USER
		return fault.WithHint(fault.New(fault.Permanent, "clickhouse: make user %s: this server takes "+
			"users only from its users.xml", user), "%s", usersFragment(cfg, user, password))
	case 495, 497, 514, 291: // the users are not stored where SQL can change them, or not by us
		return fault.WithHint(fault.As(fault.Permanent, fmt.Errorf("make user %s: %w", user, err)),
			"let %s make users (access_management in users.xml), or put this there:\n%s",
			cfg.Username, usersFragment(cfg, user, password))
	}
	return fmt.Errorf("make user %s: %w", user, err)
}

// usersFragment is the part of users.xml that makes the user.
func usersFragment(cfg Config, user string, password secret.Text) string {
	lines := []string{
		"<profiles>",
		"    <readonly><readonly>1</readonly></readonly>",
		"</profiles>",
		"<users>",
		"    <" + user + ">",
		fmt.Sprintf("        <password_sha256_hex>%x</password_sha256_hex>",
			sha256.Sum256([]byte(password.Reveal()))),
		"        <networks><ip>::/0</ip></networks>",
		"        <profile>readonly</profile>",
		"        <quota>default</quota>",
		"        <allow_databases><database>" + cfg.Database + "</database></allow_databases>",
		"    </" + user + ">",
		"</users>",
	}
	return strings.Join(lines, "\n")
}
