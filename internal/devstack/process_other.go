//go:build !linux

package devstack

import (
	"errors"
	"os/exec"
	"syscall"
)

// childAttributes has nothing to ask for: only Linux ends a child when its parent dies.
func childAttributes() *syscall.SysProcAttr { return nil }

func runAs(*exec.Cmd, int, int) error {
	return errors.New("PostgreSQL does not run as root, and only on Linux is it started as somebody else: be another user")
}
