// Package rabbit is the [broker.Driver] for RabbitMQ 3.10 and later, by AMQP
// 0-9-1.
//
// Every queue is a quorum queue, so a confirm means written and fsynced by a
// majority. There is one queue per endpoint; delays pass a ladder of queues
// with fixed times to live, which end in one queue, due, where a router reads
// the absolute time again ([Driver.Maintain]). A message that finds no queue
// lands in unroutable, by the exchange's alternate exchange.
//
// Connections are never recovered by the client library: a recovered channel
// counts its delivery tags from 1 again, and a late acknowledgement would
// remove a neighbour's message. Here a lost connection is thrown away with
// everything that belongs to it.
package rabbit
