-- Asks pick.lua what stands on standard input, a line of JSON each, and answers each with a line.
local cjson = require "cjson"
local pick = require "pick"

-- Pods by their numbers; those chosen keep what they were given where `keep` says so.
local function chosen(case)
  local tried, numbers, answers = {}, {}, {}
  for number, pod in ipairs(case.pods) do numbers[pod] = number end
  for _, number in ipairs(case.tried or {}) do tried[case.pods[number]] = true end
  for i, hash in ipairs(case.hashes) do
    local pod = pick.choose(case.pods, hash ~= cjson.null and hash or nil, tried, case.now or 0, math.random)
    answers[i] = pod and numbers[pod] or cjson.null
    if pod and case.keep then pod.here = pod.here + 1 end
  end
  return answers
end

local function judged(events)
  local pod, answers = { refusals = 0, failures = 0, out_until = 0 }, {}
  for i, event in ipairs(events) do
    local what, now = event[1], event[2]
    if what == "answered" then
      pick.succeeded(pod)
      answers[i] = false
    else
      answers[i] = pick.failed(pod, what == "refused", now)
      if answers[i] then pod.out_until = now + 10 end
    end
  end
  return answers
end

for line in io.lines() do
  local case = cjson.decode(line)
  local told = case.events and judged(case.events) or case.times and pick.pause(case.times) or chosen(case)
  print(cjson.encode(told))
  io.flush()
end
