package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestNoSecretIsPrinted(t *testing.T) {
	t.Parallel()

	for _, role := range Roles() {
		cfg := mustLoad(t, role, Source{Environ: required(role)})
		cfg.AdminKey, cfg.SecretKey = adminKey, []byte("0123456789abcdefghijklmnopqrstuv")
		cfg.AMQPURLs, cfg.RedisURL = []string{amqp, "amqp://u:987654,321@h"}, "redis://u:987654,321@h"

		var log strings.Builder
		slog.New(slog.NewJSONHandler(&log, nil)).Info("start", "config", cfg, "pointer", &cfg)
		asJSON, err := json.Marshal(struct{ C *Config }{&cfg})
		if err != nil {
			t.Fatal(err)
		}
		printed := strings.Join([]string{
			fmt.Sprint(cfg), fmt.Sprintf("%+v %#v %v %s", cfg, cfg, &cfg, cfg), fmt.Sprintf("%+v", struct{ C Config }{cfg}),
			log.String(), string(asJSON),
		}, "\n")
		for _, secret := range []string{adminKey, secretKey64, "0123456789abc", "hunter2", "correcthorse", "987654", "321@"} {
			if strings.Contains(printed, secret) {
				t.Errorf("%s: %q is printed", role, secret)
			}
		}
	}
}

func TestRedacted(t *testing.T) {
	t.Parallel()

	got := mustLoad(t, Gateway, Source{Environ: required(Gateway)}).Redacted()
	want := map[string]string{
		"TASKGATE_AMQP_URL": "amqp://127.0.0.1:5672/", "TASKGATE_REDIS_URL": "redis://127.0.0.1:6379/0",
		"TASKGATE_ADMIN_KEY": "[set]", "TASKGATE_SECRET_KEY": "[set]", "TASKGATE_LISTEN": "127.0.0.1:8080",
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %q, want %q", name, got[name], value)
		}
	}
	if _, there := got["TASKGATE_DATA"]; there {
		t.Error("lists a setting that the role does not look at")
	}
	if dev := Default(Dev).Redacted(); dev["TASKGATE_SECRET_KEY"] != "" {
		t.Errorf("a secret that is not set is %q", dev["TASKGATE_SECRET_KEY"])
	}
}
