"""The headers in which a client of ours says what it is; both ends of the API share them."""

CLIENT = "x-devsh-client"  # one process; what it was told is remembered for it
SESSION = "x-devsh-session"
PROJECT = "x-devsh-project"
AGENT = "x-devsh-agent"
SHELL = "x-devsh-shell"
REPEAT = "idempotency-key"
