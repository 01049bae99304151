//go:build !linux

package devstack

import "syscall"

// childAttributes has nothing to ask for: only Linux ends a child when its parent dies.
func childAttributes() *syscall.SysProcAttr { return nil }
