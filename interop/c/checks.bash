# The checks: each function is one, named for a behaviour, but for those whose name begins with `_`.

a_declared_queue_is_named_and_deleted() {
  expect "$queue" "$(amqp declare-queue -q "$queue" -d)"
  publish "$queue" one
  publish "$queue" two
  expect 2 "$(amqp delete-queue -q "$queue")"
}

the_server_names_a_queue() {
  local name
  name=$(amqp declare-queue -q '')
  [[ $name =~ ^amq\.gen-[A-Za-z0-9_-]{22}$ ]]
  amqp delete-queue -q "$name"
}

a_published_message_is_got() {
  amqp declare-queue -q "$queue"
  amqp publish -r "$queue" -b 'hello' -C text/plain -E utf-8 -t replies -H 'key: value' -p
  expect hello "$(amqp get -q "$queue")"
}

an_empty_queue_gives_status_2() {
  local status=0
  amqp declare-queue -q "$queue"
  amqp get -q "$queue" || status=$?
  expect 2 "$status"
}

an_empty_body_is_a_message() {
  amqp declare-queue -q "$queue"
  amqp publish -r "$queue" </dev/null
  expect '' "$(amqp get -q "$queue")"
  expect 0 "$(amqp delete-queue -q "$queue")"
}

a_body_of_five_mebibytes_arrives_whole() {
  amqp declare-queue -q "$queue" -d
  head -c 5242880 /dev/urandom >"$work/sent"
  amqp publish -r "$queue" -p <"$work/sent"
  amqp get -q "$queue" >"$work/got"
  cmp "$work/sent" "$work/got"
}

a_thousand_lines_arrive_in_order() {
  amqp declare-queue -q "$queue"
  seq 1000 | amqp publish -r "$queue" -l
  amqp consume -q "$queue" -c 1000 -A cat >"$work/got"
  cmp <(seq 1000) "$work/got"
}

consuming_stops_after_its_count() {
  amqp declare-queue -q "$queue"
  seq 5 | amqp publish -r "$queue" -l
  expect $'1\n2\n3' "$(amqp consume -q "$queue" -p 1 -c 3 cat)"
  expect 2 "$(amqp delete-queue -q "$queue")"
}

prefetch_leaves_the_rest_to_others() {
  amqp declare-queue -q "$queue"
  publish "$queue" first
  publish "$queue" second
  hold_one "$queue"
  expect first "$(held)"
  expect second "$(amqp get -q "$queue")"
  release
  expect 0 "$(amqp delete-queue -q "$queue")"
}

a_message_whose_command_fails_stays() {
  amqp declare-queue -q "$queue"
  publish "$queue" 'not done'
  amqp consume -q "$queue" -c 1 false || true
  until_succeeds amqp get -q "$queue" >"$work/got"
  expect 'not done' "$(<"$work/got")"
}

a_fanout_reaches_a_consumers_own_queue() {
  amqp consume -e amq.fanout -r any -c 1 cat >"$work/got" &
  local consumer=$!
  until_succeeds eval 'amqp publish -e amq.fanout -r other -b "to all"; ! kill -0 '"$consumer"' 2>/dev/null'
  wait "$consumer"
  expect 'to all' "$(<"$work/got")"
}

a_topic_reaches_what_matches() {
  amqp consume -e amq.topic -r 'c-suite.*.eu' -c 1 cat >"$work/got" &
  local consumer=$!
  until_succeeds eval 'amqp publish -e amq.topic -r c-suite.order.us -b us
    amqp publish -e amq.topic -r c-suite.order.eu -b eu; ! kill -0 '"$consumer"' 2>/dev/null'
  wait "$consumer"
  expect eu "$(<"$work/got")"
}

a_missing_queue_is_404() {
  local text="server channel error 404, message: NOT_FOUND - no queue '$queue' in vhost '/'"
  refused "basic.get: $text" amqp get -q "$queue"
  refused "basic.consume: $text" amqp consume -q "$queue" -c 1 cat
}

deleting_a_missing_queue_is_no_error() {
  expect 0 "$(amqp delete-queue -q "$queue")"
}

a_missing_exchange_is_404() {
  refused "server channel error 404, message: NOT_FOUND - no exchange '$queue' in vhost '/'" \
    amqp publish -e "$queue" -r key -b lost
}

a_wrong_password_is_403() {
  login=guest:wrong refused "server connection error 403, message: ACCESS_REFUSED - Login was refused using \
authentication mechanism PLAIN. For details see the broker logfile." amqp get -q "$queue"
}

a_missing_vhost_is_530() {
  vhost=missing refused "server connection error 530, message: NOT_ALLOWED - vhost missing not found" \
    amqp get -q "$queue"
}

a_vhost_without_permission_is_530() {
  login=limited:limited vhost=other refused "server connection error 530, message: NOT_ALLOWED - \
access to vhost 'other' refused for user 'limited'" amqp get -q "$queue"
}

a_queue_without_permission_is_403() {
  login=limited:limited refused "access to queue '$queue' in vhost '/' refused for user 'limited'" amqp get -q "$queue"
}

the_other_vhost_has_queues_of_its_own() {
  vhost=other amqp declare-queue -q "$queue"
  vhost=other publish "$queue" elsewhere
  refused "NOT_FOUND - no queue '$queue' in vhost '/'" amqp get -q "$queue"
  expect elsewhere "$(vhost=other amqp get -q "$queue")"
  vhost=other amqp delete-queue -q "$queue"
}

a_reserved_name_is_403() {
  refused "server channel error 403, message: ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'" \
    amqp declare-queue -q amq.mine
}

another_durability_is_406() {
  amqp declare-queue -q "$queue" -d
  refused "server channel error 406, message: PRECONDITION_FAILED - inequivalent arg 'durable' for queue '$queue' \
in vhost '/': received 'false' but current is 'true'" amqp declare-queue -q "$queue"
}

deleting_a_full_or_used_queue_is_406_when_asked() {
  amqp declare-queue -q "$queue"
  publish "$queue" one
  refused "PRECONDITION_FAILED - queue '$queue' in vhost '/' not empty" amqp delete-queue --if-empty -q "$queue"
  hold_one "$queue"
  expect one "$(held)"
  local used=0
  refused "PRECONDITION_FAILED - queue '$queue' in vhost '/' in use" \
    amqp delete-queue --if-unused -q "$queue" || used=1
  release
  expect 0 "$used"
}

an_exclusive_queue_is_405_to_others() {
  mkfifo "$work/held" "$work/release"
  amqp consume -q "$queue" -x -e amq.direct -r "$queue" -c 1 \
    -- bash -c 'cat > "$0/held"; read -t 60 < "$0/release"' "$work" &
  consumer=$!
  until_succeeds _publish_to_exclusive
  refused "server channel error 405, message: RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '$queue' \
in vhost '/'. It could be originally declared on another connection or the exclusive property value does not match \
that of the original declaration." amqp get -q "$queue" || { release; return 1; }
  release
}

# The consumer declares its queue some time after it started; until then the message goes nowhere.
_publish_to_exclusive() {
  amqp publish -e amq.direct -r "$queue" -b mine
  timeout 1 cat "$work/held"
}

heartbeats_carry_a_consumer_over_an_idle_pause() {
  amqp declare-queue -q "$queue"
  amqp consume --heartbeat=1 -q "$queue" -c 1 cat >"$work/got" &
  local consumer=$!
  sleep 5 # the pause is the subject: longer than three heartbeats
  kill -0 "$consumer"
  publish "$queue" 'still there'
  wait "$consumer"
  expect 'still there' "$(<"$work/got")"
}

# With INTEROP_EXTERNAL the rest is left out: these end the broker, as the end of their names says (`_restart`).

a_stop_keeps_durable_queues_and_persistent_messages_restart() {
  amqp declare-queue -q "$queue" -d
  amqp declare-queue -q "$queue-transient"
  seq 100 | amqp publish -r "$queue" -p -l
  publish "$queue" transient
  end_broker TERM
  start_broker
  refused "NOT_FOUND - no queue '$queue-transient' in vhost '/'" amqp get -q "$queue-transient"
  amqp consume -q "$queue" -c 100 cat >"$work/got"
  cmp <(seq 100) "$work/got"
  expect 0 "$(amqp delete-queue -q "$queue")"
}

# The tools know no confirms: the messages are made safe by an orderly stop, then the broker is killed.
a_kill_loses_nothing_that_was_safe_restart() {
  amqp declare-queue -q "$queue" -d
  head -c 5242880 /dev/urandom >"$work/sent"
  amqp publish -r "$queue" -p -b held
  amqp publish -r "$queue" -p <"$work/sent"
  end_broker TERM
  start_broker
  hold_one "$queue"
  expect held "$(held)"
  end_broker KILL
  start_broker
  release || true # the consumer's connection is gone, so it fails
  expect held "$(amqp get -q "$queue")"
  amqp get -q "$queue" >"$work/got"
  cmp "$work/sent" "$work/got"
}

a_consumer_notices_that_the_broker_was_killed_restart() {
  amqp declare-queue -q "$queue" -d
  publish "$queue" one
  mkfifo "$work/held"
  amqp consume -q "$queue" -- bash -c 'cat > "$0/held"' "$work" &
  local consumer=$! status=0
  expect one "$(held)"
  end_broker KILL
  wait "$consumer" || status=$?
  expect 1 "$status"
  start_broker
}
