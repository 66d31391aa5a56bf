//go:build !unix

package throwaway

import (
	"errors"
	"syscall"
)

const supported = false

// The functions below are never called, because no program is found where
// supported is false.

type credential struct{}

func unprivileged() (*credential, error)               { return nil, errors.ErrUnsupported }
func detached(*credential) *syscall.SysProcAttr        { return nil }
func makeFolder(dir string, account *credential) error { return errors.ErrUnsupported }

func (p *process) signal(syscall.Signal) error { return errors.ErrUnsupported }
func (p *process) pause() error                { return errors.ErrUnsupported }
func (p *process) resume() error               { return errors.ErrUnsupported }
func (p *process) kill() error                 { return errors.ErrUnsupported }
