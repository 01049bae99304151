// Command bench measures onboarding on this machine: for each configuration it starts a fresh
// Temporal, local AWS and workers, onboards a generated manifest, and collects what it took. Beside
// it stands what a user would do instead, a loop over the SDK. It prints tables, and after a whole
// run writes them into docs/performance.md. Run by `make bench`, from the repository's root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// documentFile holds the tables, between its markers.
const documentFile = "docs/performance.md"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if len(os.Args) == 2 && os.Args[1] == loopCommand {
		err = loopMain(ctx)
	} else {
		err = benchMain(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: "+err.Error())
		stop()
		os.Exit(1)
	}
}

func benchMain(ctx context.Context) error {
	var only string
	var runs, devices, workers int
	var list bool
	flag.StringVar(&only, "only", "", "run these configurations, comma-separated, * for any characters; prints only, and writes no document")
	flag.IntVar(&runs, "runs", 0, "repeat each configuration so often (default: as often as the list says); figures are medians")
	flag.IntVar(&devices, "devices", 0, "onboard so many devices in each (default: as the list says)")
	flag.IntVar(&workers, "workers", 2, "worker processes")
	flag.BoolVar(&list, "list", false, "list the configurations and end")
	flag.Parse()
	chosen, err := choose(only)
	if err != nil {
		return err
	}
	for i := range chosen {
		if devices > 0 {
			chosen[i].Devices = devices
		}
		if runs > 0 {
			chosen[i].Runs = runs
		}
	}
	if list {
		for _, c := range chosen {
			fmt.Printf("%-24s %5d devices, %d times\n", c.Name, c.Devices, c.Runs)
		}
		return nil
	}
	binaries, err := filepath.Abs("bin")
	if err != nil {
		return err
	}
	b := &bench{binaries: binaries, workers: workers}
	figures, failed := b.all(ctx, chosen)
	if len(figures) > 0 {
		text := document(describeMachine(ctx, binaries), workers, figures)
		fmt.Println("\n" + text)
		if failed == nil && only == "" && devices == 0 {
			if err := writeDocument(documentFile, text); err != nil {
				return err
			}
			fmt.Println("Written to " + documentFile)
		}
	}
	return failed
}

// choose returns the configurations whose names match one of the patterns; all, if there are none.
func choose(only string) ([]configuration, error) {
	if only == "" {
		return matrix, nil
	}
	var chosen []configuration
	matched := map[string]bool{}
	patterns := strings.Split(only, ",")
	for _, c := range matrix {
		for _, pattern := range patterns {
			matches, err := path.Match(pattern, c.Name)
			if err != nil {
				return nil, fmt.Errorf("-only %s: %w", pattern, err)
			}
			if matches {
				matched[pattern] = true
				chosen = append(chosen, c)
				break
			}
		}
	}
	for _, pattern := range patterns {
		if !matched[pattern] {
			return nil, fmt.Errorf("-only %s: no configuration is called so; -list shows them", pattern)
		}
	}
	return chosen, nil
}

// all runs the configurations one after the other; one that fails does not keep the others from theirs.
func (b *bench) all(ctx context.Context, chosen []configuration) ([]figures, error) {
	var done []figures
	var failed error
	for _, c := range chosen {
		var runs []measured
		for n := range c.Runs {
			fmt.Fprintf(os.Stderr, "%s  %s, run %d of %d\n", time.Now().Format(time.TimeOnly), c.Name, n+1, c.Runs)
			m, err := b.run(ctx, c, n == 0)
			if ctx.Err() != nil {
				return done, errors.Join(failed, errors.New("interrupted; everything is stopped"))
			}
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", c.Name, err))
				fmt.Fprintf(os.Stderr, "          failed: %v\n", err)
				break
			}
			fmt.Fprintf(os.Stderr, "          %.1f devices/s, %d of %d provisioned\n", m.Rate, m.Provisioned, c.Devices)
			runs = append(runs, m)
		}
		if len(runs) > 0 {
			done = append(done, summarize(c, runs))
		}
	}
	return done, failed
}
