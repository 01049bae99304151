package localaws

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

const controlPrefix = "/_localaws/"

// controlHandler is the control interface, for tests and rehearsals. It asks for no signature.
func (s *Server) controlHandler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, answer func(*http.Request) (int, any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			status, body, err := answer(r)
			if err != nil {
				status, body = http.StatusBadRequest, map[string]string{"message": err.Error()}
			}
			writeJSON(w, status, "application/json", body)
		})
	}
	mux.HandleFunc("GET /_localaws/AmazonRootCA1.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(s.RootCA())
	})
	handle("GET /_localaws/health", func(*http.Request) (int, any, error) {
		return http.StatusOK, map[string]string{"status": "ok"}, nil
	})
	handle("GET /_localaws/calls", func(*http.Request) (int, any, error) {
		return http.StatusOK, s.calls.snapshot(), nil
	})
	handle("DELETE /_localaws/calls", func(*http.Request) (int, any, error) {
		s.calls.reset()
		return http.StatusOK, struct{}{}, nil
	})
	handle("GET /_localaws/quotas", func(*http.Request) (int, any, error) {
		return http.StatusOK, s.quotas.snapshot(), nil
	})
	handle("PUT /_localaws/quotas", func(r *http.Request) (int, any, error) {
		var changes map[string]*float64
		if err := decodeStrictly(r.Body, &changes); err != nil {
			return 0, nil, err
		}
		if err := s.quotas.set(changes); err != nil {
			return 0, nil, err
		}
		return http.StatusOK, s.quotas.snapshot(), nil
	})
	handle("GET /_localaws/faults", func(*http.Request) (int, any, error) {
		return http.StatusOK, s.faults.snapshot(), nil
	})
	handle("POST /_localaws/faults", func(r *http.Request) (int, any, error) {
		f := &fault{}
		if err := decodeStrictly(r.Body, f); err != nil {
			return 0, nil, err
		}
		added, err := s.faults.add(f)
		return http.StatusCreated, added, err
	})
	handle("DELETE /_localaws/faults", func(*http.Request) (int, any, error) {
		s.faults.clear()
		return http.StatusOK, struct{}{}, nil
	})
	return mux
}

// decodeStrictly reads one JSON value and refuses unknown fields and anything after it.
func decodeStrictly(body io.Reader, into any) error {
	decoder := json.NewDecoder(io.LimitReader(body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("body: want one JSON object and nothing after it")
	}
	return nil
}
