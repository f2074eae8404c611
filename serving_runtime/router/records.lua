-- One line per answer, failures included, for the recorder to read. A request only leaves its line in memory; ten times
-- a second they are appended together to a file on the node's own disk, never to a volume that the network can hold up.
local metrics = require "metrics"

local records = {}
local PERIOD, MOST_WAITING = 0.1, 100000
local folder, token
local waiting, dropped, failing = {}, 0, false

local function random_token()
  local source = assert(io.open("/dev/urandom", "rb"))
  local bytes = source:read(8)
  source:close()
  return (bytes:gsub(".", function(byte) return string.format("%02x", byte:byte()) end))
end

local function flush()
  if #waiting == 0 then return end
  local path = folder .. "/" .. os.date("!%Y%m%dT%H%M", ngx.time()) .. "-" .. token .. ".jsonl"
  local file, problem = io.open(path, "a")
  local start = failing and "\n" or "" -- what failed may have left half a line
  local written = file and file:write(start, table.concat(waiting, "\n"), "\n") and file:flush()
  if file then file:close() end
  if written then waiting = {} end
  if failing or not written then metrics.set("records_waiting", {}, #waiting) end
  if failing ~= not written then
    failing = not written
    local told = failing and "records cannot be written and wait" or "records are written again"
    ngx.log(ngx.ERR, told, ", ", dropped, " are lost: ", problem or path)
  end
end

-- Where each worker writes: a file of its own per minute, so that no two ever write to the same.
function records.start(path)
  folder, token = path, random_token()
  metrics.set("records_waiting", {}, 0)
  metrics.count("records_dropped_total", {}, 0)
  ngx.timer.every(PERIOD, flush)
end

function records.add(line)
  if #waiting == MOST_WAITING then
    dropped = dropped + 1
    metrics.count("records_dropped_total", {})
    return
  end
  waiting[#waiting + 1] = line
  if ngx.worker.exiting() then flush() end
end

-- The worker ends.
records.finish = flush

return records
