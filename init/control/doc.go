// Package control is the wire format and the client of PID 1's control socket.
//
// The socket is of type SOCK_SEQPACKET (unix(7)): the kernel keeps the
// boundaries of messages. Each is one JSON object. A call has a connection of
// its own: the client sends one request, PID 1 sends answers, the last with
// "end", and closes. A client that closes ends its call.
//
//	request    unit  of            meaning
//	version          all           1
//	call             all           see the table below
//	service          those on one  its name
//	wait             start, stop, restart  answer when it is ready, settled, ready
//	lines            logs          the newest ones only; 0: all
//	sinceMs    ms    logs          only lines from then on (UNIX time); 0: all
//	follow           logs          go on until the client closes
//	previous         logs          of the last boot before this one that has any
//
//	call       role      answers before the last
//	hello      reader    one "hello": version and the caller's role
//	list       reader    one "service" for each, in dependency order
//	status     reader    one "service"
//	logs       reader    "lines", any number
//	events     reader    one "event" of kind "now" for each service, then the
//	                     others as they happen
//	start      operator  none
//	stop       operator  none
//	restart    operator  none
//	power-off  operator  none
//	reboot     operator  none
//
//	answer     meaning
//	end        this is the last one
//	error      with end: why the call failed: a code, and a text for people
//	hello, service, lines, event  see the types; times in them are ms since the
//	           kernel started (CLOCK_BOOTTIME), but a line's, which is UNIX time
//
//	error code  when
//	refused     the caller has no role, see below
//	forbidden   the call needs another role than the caller has
//	busy        too many callers of this role at once; try again
//	bad-request the request is not JSON of this shape, or longer than MaxRequest
//	version     the request has another version
//	unknown     there is no such service
//	going-down  the machine does, services can't be started any more
//	failed      with wait: the service failed, or another one that it requires
//	slow        the client did not take its answers in time, or did not send its
//	            request
//	closing     PID 1 closes the socket: the machine goes down
//	internal    anything else
//
// # Roles
//
// Who calls is what the kernel says of the process that called connect(2).
// User 0 is operator, and so is a member of the group GroupOperator. A member
// of the group GroupReader is reader. Everybody else is refused, and so is every process in a pod's cgroup (below
// /kubepods), whoever it is: a pod that needs the node's services asks for them
// through the API server, and a host path that carries this socket into a pod
// carries no power over the node with it. That is a fence around mistakes and
// confined pods; a privileged pod is root on the node with or without it.
//
// # Limits
//
// PID 1 serves a bounded number of connections for each role, so that readers
// can't keep an operator out; of these, a smaller number may be long ones
// (logs, events, wait). A request must arrive within RequestLimit, and room
// for an answer must come within AnswerLimit; otherwise the connection is
// closed, with error slow where it can be said. A subscriber that lags loses
// the oldest events and gets one event of kind "lost" with their number in
// place of them.
package control
