package devstack

import (
	"os/exec"
	"syscall"
)

// childAttributes give the child a process group of its own and end it when its parent dies.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// runAs makes the command run as another user, which only root may.
func runAs(cmd *exec.Cmd, uid, gid int) error {
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return nil
}
