# The words the checks are written in; read by `run`, which sets $host, $port, $scratch, and for each check $queue, a name
# of its own, and $work, an empty directory.

# Starts the broker on the suite's directory, and waits until it says that it serves.
start_broker() {
  local log pid lines tail status=0
  log=$(mktemp "$scratch/broker.XXXXXX.log")
  "$here/../broker" "$port" "$scratch/data" >"$log" 2>&1 &
  pid=$!
  disown "$pid" # else the shell tells of its end
  echo "$pid" >"$scratch/broker.pid"
  exec {lines}< <(exec tail -n +1 -F --pid="$pid" "$log" 2>/dev/null)
  tail=$!
  timeout 30 grep -q -m 1 'Server startup complete' <&"$lines" || status=$?
  exec {lines}<&-
  kill "$tail" 2>/dev/null || true
  if ((status != 0)); then
    echo "the broker did not start; its log:"
    cat "$log"
    return 1
  fi
}

# Sends the broker that start_broker started a signal, and waits for its end.
end_broker() {
  local signal=$1 pid
  if [[ -s $scratch/broker.pid ]]; then
    pid=$(<"$scratch/broker.pid")
    kill "-$signal" "$pid" 2>/dev/null || true
    if ! timeout 30 tail -f /dev/null -s 0.05 --pid="$pid"; then
      echo "the broker did not end within 30 s of SIG$signal"
      kill -KILL "$pid"
      return 1
    fi
    : >"$scratch/broker.pid"
  fi
}

# amqp TOOL ARGUMENT...: one of the tools, as guest unless USER_AND_VHOST says otherwise, with a deadline.
amqp() {
  local tool=$1
  shift
  timeout 30 "amqp-$tool" --url="amqp://${login:-guest:guest}@$host:$port/${vhost:-%2f}" "$@"
}

publish() { amqp publish -r "$1" -b "$2"; }

expect() {
  if [[ $1 != "$2" ]]; then
    echo "expected: $1"
    echo "     got: $2"
    return 1
  fi
}

# refused TEXT COMMAND...: the command fails, and its complaint ends with the server's text.
refused() {
  local text=$1 output
  shift
  if output=$("$@" 2>&1 </dev/null); then
    echo "expected a refusal, but it succeeded: $output"
    return 1
  fi
  if [[ $output != *"$text" ]]; then
    echo "expected: ...$text"
    echo "     got: $output"
    return 1
  fi
}

# A consumer in the background that takes one message, tells it through the pipe `held` and waits for `release`
# before it accepts the message.
hold_one() {
  local queue=$1
  shift
  mkfifo "$work/held" "$work/release"
  amqp consume -q "$queue" -p 1 -c 1 "$@" \
    -- bash -c 'cat > "$0/body"; echo "$(<"$0/body")" > "$0/held"; read -t 60 < "$0/release"' "$work" &
  consumer=$!
}

held() { timeout 30 cat "$work/held"; }

release() {
  timeout 30 bash -c 'echo > "$0"' "$work/release"
  wait "$consumer"
}

# Runs a command again and again until it succeeds, for at most 30 s.
until_succeeds() {
  local deadline=$((SECONDS + 30))
  until "$@"; do
    ((SECONDS < deadline)) || return 1
  done
}

