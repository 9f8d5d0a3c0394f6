// Package logs keeps what services print: the newest lines in memory, more in files, never holding a writer up.
//
// Each service has a stream of records, one a line, in the order in which PID
// 1 read them. A position in the stream is a count of bytes since the boot.
// The newest records are in memory; parts of the stream are files
// <service>.<boot>.<part>.log, where boot and part count upwards. A record is
//
//	offset  size  field
//	0       24    when it was read, UTC: 2006-01-02T15:04:05.000Z
//	24      1     kind: ' ' a line, '+' a piece of one that goes on in the
//	              next '+' or ' ' record, '!' a remark by PID 1
//	25      0…4096  what the service printed, without its newline
//	        1     newline
//
// # Decisions
//
// The goroutine that reads a service's pipe only copies into memory; one
// writer for all services writes files. It is a reader of the stream like any
// other: when the disk is slower than the service, full, or not there yet,
// records wait in memory; those that are pushed out before they were written
// are lost, counted, and noted in the next part. A part holds a stretch of
// the stream without gaps, so that a position is found in it by arithmetic.
//
// An idle service costs no buffer: its pipe is read, once there is something
// to read, into a buffer that all share.
//
// A service may print floodBurst bytes at once and floodRate bytes a second.
// What is more is read, so that the service does not wait, in large pieces and
// not oftener than every floodPace, and dropped unseen; except for the newest
// piece, which may say why the service died. Where the service prints
// faster than the disk takes, it waits for up to floodWait, while that helps.
//
// Files are bounded in number and size for each service and in total. Whoever
// fills most makes room: a flood costs its own service's history.
package logs
