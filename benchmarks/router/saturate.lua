-- wrk's script: 1,000 users in turn ask the one question of the file that it is given.
local requests, turn = {}, 0

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  local body = file:read("*a")
  file:close()
  for number = 1, 1000 do
    local user = "user-" .. number
    local headers = { ["Content-Type"] = "application/json", ["X-User-Id"] = user }
    requests[number] = wrk.format("POST", "/v1/chat/completions", headers, (body:gsub("@USER@", user)))
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('\n{"requests": %d, "seconds": %f, "failed": %d}\n', summary.requests, summary.duration / 1e6, failed))
end
