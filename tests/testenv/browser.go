package testenv

import (
	"os"
	"path/filepath"
	"testing"
)

// chromium is where Debian puts the browser.
const chromium = "/usr/bin/chromium"

// Browser is what a test needs to look at pages: Chromium, and the node_modules directory that has playwright-core, which
// drives it, and axe-core, which judges whether everybody can use them.
func Browser(t testing.TB) (program, modules string) {
	t.Helper()
	if _, err := os.Stat(chromium); err != nil {
		Missing(t, "Debian's chromium", err)
	}
	dir, err := npmPackage("playwright-core")
	if err != nil {
		Missing(t, "npm's playwright-core", err)
	}
	return chromium, filepath.Dir(dir)
}
