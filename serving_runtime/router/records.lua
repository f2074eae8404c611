-- One line per answer, failures included, for the recorder to read. A request only leaves its line in memory; ten times
-- a second they are appended together to a file on the node's own disk, never to a volume that the network can hold up.
local metrics = require "metrics"

local records = { MOST_BYTES = 16 * 2 ^ 20, SLICE_BYTES = 2 ^ 20 }
local PERIOD, REST = 0.1, 9 -- seconds; periods between two tries while the disk fails
local folder, token
local waiting, first, last, held = {}, 1, 0, 0 -- `held` is in bytes
local dropped, failing, rest = 0, false, 0

local function random_token()
  local source = assert(io.open("/dev/urandom", "rb"))
  local bytes = source:read(8)
  source:close()
  return (bytes:gsub(".", function(byte) return string.format("%02x", byte:byte()) end))
end

-- Append what waits, slice by slice; whether all is written, and what went wrong.
local function append(path)
  local file, problem = io.open(path, "a")
  local start = failing and "\n" or "" -- what failed may have left half a line
  while file and first <= last do
    local stop, size = first, #waiting[first]
    while stop < last and size < records.SLICE_BYTES do
      stop = stop + 1
      size = size + #waiting[stop]
    end
    local written
    written, problem = file:write(start, table.concat(waiting, "\n", first, stop), "\n")
    if written then written, problem = file:flush() end
    if not written then break end
    for i = first, stop do waiting[i] = nil end
    first, held, start = stop + 1, held - size, ""
  end
  if file then file:close() end
  return first > last, problem
end

local function flush()
  if first > last then return end
  local path = folder .. "/" .. os.date("!%Y%m%dT%H%M", ngx.time()) .. "-" .. token .. ".jsonl"
  local written, problem = append(path)
  if written then waiting, first, last = {}, 1, 0 end
  if failing or not written then metrics.set("records_waiting", {}, last - first + 1) end
  if failing ~= not written then
    failing = not written
    local told = failing and "records cannot be written and wait" or "records are written again"
    ngx.log(ngx.ERR, told, ", ", dropped, " are lost: ", problem or path)
  end
  rest = failing and REST or 0
end

local function tick()
  if rest > 0 then
    rest = rest - 1
  else
    flush()
  end
end

-- Where each worker writes: a file of its own per minute, so that no two ever write to the same.
function records.start(path)
  folder, token = path, random_token()
  metrics.set("records_waiting", {}, 0)
  metrics.count("records_dropped_total", {}, 0)
  ngx.timer.every(PERIOD, tick)
end

-- For how long the recorder has not had all of the records, in seconds; nil before that is known.
function records.lag()
  local file = io.open(folder .. "/delivered")
  local at = file and tonumber(file:read(32))
  if file then file:close() end
  local lag = at and math.floor(ngx.time() - at)
  return lag and lag > -2 and math.max(0, lag) or nil -- what lies ahead tells of a clock that was set back
end

metrics.show("recorder_lag_seconds", "For how long the recorder has not had all records.", records.lag)

function records.add(line)
  if held + #line > records.MOST_BYTES then
    dropped = dropped + 1
    metrics.count("records_dropped_total", {})
    return
  end
  last, held = last + 1, held + #line
  waiting[last] = line
  if ngx.worker.exiting() then flush() end
end

-- The worker ends.
records.finish = flush

return records
