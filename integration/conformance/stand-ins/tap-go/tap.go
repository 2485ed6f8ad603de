// Package tap writes the Test Anything Protocol. Debian does not package the library that the runtime-tools programs import
// under the name github.com/mndrix/tap-go; this one has the part of its interface that they use, and is put in its place.
package tap

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// T is one test program's output: numbered lines and a plan.
type T struct {
	Writer  io.Writer
	written *int
	mark    string
}

// New writes to the standard output.
func New() *T { return &T{Writer: os.Stdout, written: new(int)} }

// Todo is the same output, for checks that nobody expects to pass yet.
func (t *T) Todo() *T { return &T{Writer: t.Writer, written: t.written, mark: "# TODO "} }

// Header begins the output. planned is the number of lines to come; 0 means that AutoPlan tells it at the end.
func (t *T) Header(planned int) {
	fmt.Fprintln(t.Writer, "TAP version 13")
	if planned > 0 {
		fmt.Fprintf(t.Writer, "1..%d\n", planned)
	}
}

// AutoPlan ends the output with the number of lines there were.
func (t *T) AutoPlan() { fmt.Fprintf(t.Writer, "1..%d\n", *t.written) }

// Ok is one check.
func (t *T) Ok(passed bool, description string) {
	*t.written++
	verdict := "ok"
	if !passed {
		verdict = "not ok"
	}
	fmt.Fprintf(t.Writer, "%s %d %s- %s\n", verdict, *t.written, t.mark, description)
}

// Fail is a check that failed.
func (t *T) Fail(description string) { t.Ok(false, description) }

// Pass is a check that passed.
func (t *T) Pass(description string) { t.Ok(true, description) }

// Skip says that count checks cannot be made, and why.
func (t *T) Skip(count int, reason string) {
	for ; count > 0; count-- {
		*t.written++
		fmt.Fprintf(t.Writer, "ok %d # SKIP %s\n", *t.written, reason)
	}
}

// Diagnostic is a remark; a reader of the protocol passes over it.
func (t *T) Diagnostic(message string) { fmt.Fprintf(t.Writer, "# %s\n", message) }

// Diagnosticf is Diagnostic with a format.
func (t *T) Diagnosticf(format string, values ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, values...))
}

// YAML attaches data to the check before it. JSON is YAML.
func (t *T) YAML(data interface{}) error {
	encoded, err := json.MarshalIndent(data, "  ", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintf(t.Writer, "  ---\n  %s\n  ...\n", encoded)
	return nil
}
