// Package redis keeps tasks in Redis 7.0 or later.
//
// Everything of one shard (the last digit of a task id) has the hash tag
// {digit}, so that each script touches one slot:
//
//	<ns>:{s}:t:<id>        hash: v version, h head, s spec, p payload, r result,
//	                       a<n> attempt n, f flag, k where it is listed and its
//	                       idempotency key, while its acceptance is not noted;
//	                       one key, so that all parts end at KeepTill together
//	<ns>:{s}:w:<id>        set: topics that wait for the task; ends by itself,
//	                       apart from the hash because a task that is not there
//	                       can be waited for too
//	<ns>:{s}:i:<digest>    string: "<id> <fingerprint>"
//	<ns>:{s}:pend          zset: AcceptBy → id
//	<ns>:{s}:x             zset: ExpiresAt → id; f: FlagAt → id
//	<ns>:{s}:ix:<project>  zset: Created → id; fx:<project> the failed ones;
//	<ns>:{s}:lx:<endpoint> zset: lane and Created → id of the live ones
//	<ns>:{s}:ep:<project>  set: endpoints that have had an lx, for Forget
//	<ns>:beat:<owner>, <ns>:lead:<name>
//	<ns>:{f:<name>}:<minute>  hash: counters of that minute; :l levels by owner
//	<ns>:q:<quota>         hash: owner → what it wants, holds, and until when
//	<ns>:h:<topic>         pub/sub channel
//
// Scripts compare versions and know nothing of states. A created, noted, begun
// and settled task costs four round trips, one each.
//
// Durability is the server's: with appendfsync everysec up to a second of
// changes may be lost when it dies, and the broker's messages then win.
package redis
