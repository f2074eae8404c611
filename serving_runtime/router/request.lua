-- A request's body: what its top-level keys are, and another model's name in it. nginx keeps a small body in memory and
-- a large one in a file; that is read in pieces, and others have their turn in between, so neither memory nor the other
-- requests' time depends on how large it is.
local ffi = require "ffi"
local scanning = require "body"

local request = {}
ffi.cdef "size_t fread(void *to, size_t size, size_t count, void *from);"
local PIECE, PIECES_AT_ONCE = 65536, 4
local PAUSE = 0.001 -- seconds; of 0, Debian's nginx complains
local piece = ffi.new("uint8_t[?]", PIECE)

-- Hand `take` the bytes of a file from `first` to `last`; what it returns other than true ends the reading.
local function read(file, first, last, take)
  file:seek("set", first)
  local position, pieces = first, 0
  while position < last do
    local length = tonumber(ffi.C.fread(piece, 1, math.min(PIECE, last - position), file))
    if length == 0 then break end
    local done, sentence, key = take(piece, length)
    if done ~= true then return done, sentence, key end
    position, pieces = position + length, pieces + 1
    if pieces % PIECES_AT_ONCE == 0 then ngx.sleep(PAUSE) end -- `piece` is others' meanwhile
  end
  return true
end

-- What a scanner finds in the body, by key; or nil, a sentence, and the key that it is about.
function request.keys(wanted, opened)
  local scanner = scanning.scanner(wanted, opened)
  local text, path = ngx.req.get_body_data(), ngx.req.get_body_file()
  local done, sentence, key = true, nil, nil
  if text then
    done, sentence, key = scanner:feed(ffi.cast("const uint8_t *", text), #text)
  elseif path then
    local file = assert(io.open(path, "rb"))
    done, sentence, key = read(file, 0, math.huge, function(bytes, length) return scanner:feed(bytes, length) end)
    file:close()
  end
  if not done then return nil, sentence, key end
  return scanner:finish()
end

-- Put other text where a value stands. The body is changed there and nowhere else.
function request.replace(value, text)
  local whole = ngx.req.get_body_data()
  if whole then
    ngx.req.set_body_data(whole:sub(1, value.first) .. text .. whole:sub(value.last + 1))
    return
  end
  local function append(bytes, length)
    ngx.req.append_body(ffi.string(bytes, length))
    return true
  end
  local file = assert(io.open(ngx.req.get_body_file(), "rb"))
  ngx.req.init_body() -- from here on, nginx's own file has no name
  read(file, 0, value.first, append)
  ngx.req.append_body(text)
  read(file, value.last, math.huge, append)
  ngx.req.finish_body()
  file:close()
end

return request
