package task

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// The binary forms: one version byte, the length of a JSON head as a uvarint,
// the head, then bytes that are never touched (payload, result body).

const codecVersion = 1

// MaxHead bounds the head of an encoded envelope or result; a longer one is
// not ours.
const MaxHead = 256 << 10

var errCodec = errors.New("not an encoded value of this version")

func encode(head any, tail []byte) ([]byte, error) {
	h, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("encode head: %w", err)
	}
	out := make([]byte, 0, 1+binary.MaxVarintLen32+len(h)+len(tail))
	out = append(out, codecVersion)
	out = binary.AppendUvarint(out, uint64(len(h)))
	out = append(out, h...)
	return append(out, tail...), nil
}

func decode(b []byte, head any) (tail []byte, err error) {
	if len(b) == 0 || b[0] != codecVersion {
		return nil, errCodec
	}
	n, w := binary.Uvarint(b[1:])
	rest := b[min(len(b), 1+max(w, 0)):]
	if w <= 0 || n > MaxHead || n > uint64(len(rest)) {
		return nil, errCodec
	}
	if err := json.Unmarshal(rest[:n], head); err != nil {
		return nil, fmt.Errorf("decode head: %w", err)
	}
	return rest[n:], nil
}

// EncodeEnvelope writes an envelope for a message body.
func EncodeEnvelope(e *Envelope) ([]byte, error) { return encode(&e.Spec, e.Payload) }

// DecodeEnvelope reads what [EncodeEnvelope] wrote. The payload shares b's
// memory.
func DecodeEnvelope(b []byte) (Envelope, error) {
	var e Envelope
	tail, err := decode(b, &e.Spec)
	if err != nil {
		return Envelope{}, err
	}
	if _, ok := ParseID(string(e.ID)); !ok || e.Project == "" || e.Endpoint == "" {
		return Envelope{}, errCodec
	}
	e.Payload = tail
	return e, nil
}

// EncodeSpec writes a spec for the store.
func EncodeSpec(s *Spec) ([]byte, error) { return json.Marshal(s) }

// DecodeSpec reads what [EncodeSpec] wrote.
func DecodeSpec(b []byte) (Spec, error) {
	var s Spec
	err := json.Unmarshal(b, &s)
	return s, err
}

// EncodeResult writes a result for the store.
func EncodeResult(r *Result) ([]byte, error) { return encode(r, r.Body) }

// DecodeResult reads what [EncodeResult] wrote. The body shares b's memory.
func DecodeResult(b []byte) (Result, error) {
	var r Result
	tail, err := decode(b, &r)
	if err != nil {
		return Result{}, err
	}
	r.Body = tail
	return r, nil
}

// EncodeAttempt writes one attempt for the store.
func EncodeAttempt(a *Attempt) ([]byte, error) { return json.Marshal(a) }

// DecodeAttempt reads what [EncodeAttempt] wrote.
func DecodeAttempt(b []byte) (Attempt, error) {
	var a Attempt
	err := json.Unmarshal(b, &a)
	return a, err
}

// head is the stored form of a record; times are Unix milliseconds.
type head struct {
	State     State  `json:"s"`
	Reason    Reason `json:"r,omitempty"`
	Gen       int    `json:"g"`
	Seq       int    `json:"q"`
	Starts    int    `json:"n,omitempty"`
	Used      int    `json:"u,omitempty"`
	Suspects  int    `json:"ss,omitempty"`
	Suspect   bool   `json:"su,omitempty"`
	Token     string `json:"lt,omitempty"`
	Owner     string `json:"lo,omitempty"`
	Until     int64  `json:"lu,omitempty"`
	ETA       int64  `json:"e,omitempty"`
	LastETA   int64  `json:"le,omitempty"`
	Born      int64  `json:"b,omitempty"`
	StartedAt int64  `json:"a,omitempty"`
	ChangedAt int64  `json:"c,omitempty"`
	EndedAt   int64  `json:"x,omitempty"`
	Status    int    `json:"h,omitempty"`
	Rebuilt   bool   `json:"rb,omitempty"`
}

// EncodeHead writes the record without its version, which stores keep beside
// it to compare.
func (r *Record) EncodeHead() ([]byte, error) {
	return json.Marshal(head{
		State: r.State, Reason: r.Reason, Gen: r.Gen, Seq: r.Seq, Starts: r.Starts, Used: r.Used,
		Suspects: r.Suspects, Suspect: r.Suspect, Token: r.Lease.Token, Owner: r.Lease.Owner,
		Until: ToMillis(r.Lease.Until), ETA: ToMillis(r.ETA), LastETA: ToMillis(r.LastETA), Born: ToMillis(r.Born),
		StartedAt: ToMillis(r.StartedAt), ChangedAt: ToMillis(r.ChangedAt), EndedAt: ToMillis(r.EndedAt),
		Status: r.Status, Rebuilt: r.Rebuilt,
	})
}

// DecodeHead reads what [Record.EncodeHead] wrote.
func DecodeHead(b []byte, version int64) (Record, error) {
	var h head
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&h); err != nil {
		return Record{}, fmt.Errorf("decode record: %w", err)
	}
	if !h.State.Valid() {
		return Record{}, errCodec
	}
	return Record{
		Version: version, State: h.State, Reason: h.Reason, Gen: h.Gen, Seq: h.Seq, Starts: h.Starts, Used: h.Used,
		Suspects: h.Suspects, Suspect: h.Suspect,
		Lease: Lease{Token: h.Token, Owner: h.Owner, Until: FromMillis(h.Until)},
		ETA:   FromMillis(h.ETA), LastETA: FromMillis(h.LastETA), Born: FromMillis(h.Born), StartedAt: FromMillis(h.StartedAt),
		ChangedAt: FromMillis(h.ChangedAt), EndedAt: FromMillis(h.EndedAt), Status: h.Status, Rebuilt: h.Rebuilt,
	}, nil
}

// ToMillis converts a time to Unix milliseconds, 0 for the zero time.
func ToMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// FromMillis is the inverse of [ToMillis], in UTC.
func FromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
