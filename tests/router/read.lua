-- Reads the answers that stand on standard input, one as a line of JSON: its kind, whether it streams and what is withheld,
-- and its pieces in hexadecimal digits. Tells each in a line of JSON: what passes, and what was read.
local cjson = require "cjson"
local stream = require "stream"
local usage = require "usage"

local function bytes_of(digits)
  return (digits:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

local function read(asked)
  local seen = { kind = asked.kind, withholds = asked.withholds, chunks = 0 }
  local passed, held, reader = {}, 0, not asked.streams and usage.reader(asked.kind, false) or nil
  for number, digits in ipairs(asked.pieces) do
    local piece = bytes_of(digits)
    seen.now = number
    passed[number] = reader and piece or stream.pass(seen, piece, number == #asked.pieces)
    held = math.max(held, seen.held and #seen.held or 0)
    if reader then reader:feed(piece) end
  end
  if reader then reader:tell(seen) end
  local all = table.concat(passed):gsub(".", function(byte) return string.format("%02x", byte:byte()) end)
  return {
    passed = all, finished = not not seen.finished, failed = not not seen.failed, chunks = seen.chunks,
    first = seen.first, last = seen.last, completion = seen.completion, counted = seen.counted,
    prompt = seen.prompt_tokens, answer = seen.completion_tokens, held = held,
  }
end

for line in io.lines() do
  print(cjson.encode(read(cjson.decode(line))))
  io.flush()
end
