package redisdb

// Judge is judge.
var Judge = judge
