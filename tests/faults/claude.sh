#!/bin/bash
# An agent that can be spoken to, in claude's stream-json: a world has it on its agents' PATH as `claude`.
# Like the scripts of plans.py it marks what it begins, writes and ends, and besides each message that it hears, before it says so.

marks=${0%/plan/bin/claude}/marks
while [ $# -gt 0 ]; do
    [ "$1" = --session-id ] && session=$2
    shift
done

hear() {
    local rest=$1
    while [[ $rest =~ for\ you\ \((message-[0-9-]+)\) ]]; do
        echo "heard $name $DEVSH_RUN ${BASH_REMATCH[1]}" >>"$marks"
        rest=${rest#*"${BASH_REMATCH[0]}"}
    done
    [[ $1 =~ \"uuid\":\ \"([0-9a-f-]+)\" ]] && echo "{\"type\":\"user\",\"isReplay\":true,\"uuid\":\"${BASH_REMATCH[1]}\"}"
}

answer() {
    local facts='"is_error":false,"result":"done","num_turns":1,"usage":{"input_tokens":1,"output_tokens":1},"total_cost_usd":0.0'
    echo "{\"type\":\"result\",\"subtype\":\"success\",\"session_id\":\"$session\",$facts}"
}

read -r line
[[ $line =~ storm\ (t[0-9]+)\ (writes|reads) ]] || exit 2
name=${BASH_REMATCH[1]} work=${BASH_REMATCH[2]}
exec 9>>"$marks.$name"
flock -n 9 || echo "overlap $name $DEVSH_RUN" >>"$marks"
echo "begin $name $DEVSH_RUN" >>"$marks"
echo "agent $name $DEVSH_RUN $$ $EPOCHREALTIME" >>"$marks"
echo "{\"type\":\"system\",\"subtype\":\"init\",\"session_id\":\"$session\",\"model\":\"storm\"}"
hear "$line"
[ "$work" = reads ] || {
    echo work >"$name.$DEVSH_RUN.txt"
    echo "wrote $name $DEVSH_RUN" >>"$marks"
}
while read -r -t 0.3 line; do hear "$line"; done
answer
while read -r line; do
    hear "$line"
    answer
done
echo "end $name $DEVSH_RUN" >>"$marks"
