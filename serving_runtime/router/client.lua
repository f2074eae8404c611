-- One request to a model's server beside nginx's own proxy: asked once, within a time, over a connection of its own.
-- Nothing of it is kept here: each piece of the answer is handed on as it comes.
local client = {}
local CONNECT, SEND, LOOK = 2000, 5000, 1 -- milliseconds; seconds, after which it is seen whether the worker ends
local LONGEST_HEAD, LONGEST_LINE, LONGEST_PIECE = 16384, 1024, 16384
local FIRST_LINE, NEXT_LINE = "^([^\r\n]*)\r\n()", "^\r\n([^\r\n]*)\r\n()" -- the length of a chunk
local Chunks = {}
Chunks.__index = Chunks

-- The next piece, however long it is in coming; nil and what went wrong.
local function receive(socket, deadline)
  while true do
    local left = deadline - ngx.now()
    if left <= 0 or ngx.worker.exiting() then return nil, left <= 0 and "timeout" or "ending" end
    socket:settimeout(math.ceil(math.min(left, LOOK) * 1000))
    local piece, problem = socket:receiveany(LONGEST_PIECE)
    if piece or problem ~= "timeout" then return piece, problem end
  end
end

-- The head, in lower case, and what came behind it; nil and what went wrong.
local function receive_head(socket, deadline)
  local text = ""
  repeat
    local piece, problem = receive(socket, deadline)
    if not piece then return nil, problem end
    text = text .. piece
    local _, stop = text:find("\r\n\r\n", 1, true)
    if stop then return text:sub(1, stop):lower(), text:sub(stop + 1) end
  until #text > LONGEST_HEAD
  return nil, "a head that is too long"
end

-- What of a piece is the answer's own, where it comes in chunks; nil where these are none.
function Chunks:feed(piece)
  local text, own = self.rest .. piece, {}
  while not self.is_over do
    if self.left > 0 then
      own[#own + 1] = text:sub(1, self.left)
      local taken = #own[#own]
      self.left, text = self.left - taken, text:sub(taken + 1)
      if self.left > 0 then break end
    end
    local line, stop = text:match(self.line)
    if not line and #text > LONGEST_LINE then return nil end
    if not line then break end
    local length = line:match("^%x+")
    if not length then return nil end
    self.left = tonumber(length, 16)
    self.is_over, self.line, text = self.left == 0, NEXT_LINE, text:sub(stop)
  end
  self.rest = text
  return table.concat(own)
end

-- An answer whose length was told, or that ends with the connection.
local Plain = {}
Plain.__index = Plain

function Plain:feed(piece)
  if self.left then
    piece = piece:sub(1, self.left)
    self.left = self.left - #piece
    self.is_over = self.left == 0
  end
  return piece
end

local function reader_of(head)
  if head:find("\r\ntransfer%-encoding: *chunked") then
    return setmetatable({ rest = "", left = 0, line = FIRST_LINE, is_over = false }, Chunks)
  end
  local length = tonumber(head:match("\r\ncontent%-length: *(%d+)"))
  return setmetatable({ left = length, is_over = length == 0 }, Plain)
end

local function head_of(to)
  local lines = {
    "POST " .. to.uri .. " HTTP/1.1",
    "Host: " .. to.host,
    "Content-Type: application/json",
    "Content-Length: " .. #to.body,
    "X-Request-Id: " .. to.id,
    "Connection: close",
  }
  if to.key ~= "" then lines[#lines + 1] = "Authorization: " .. to.key end
  if to.marks then lines[#lines + 1] = "CDN-Loop: " .. to.marks end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

local function open(socket, to)
  socket:settimeouts(CONNECT, SEND, CONNECT)
  local done, problem = socket:connect(to.address, to.port)
  if done and to.name then done, problem = socket:sslhandshake(false, to.name, true) end
  if done then done, problem = socket:send { head_of(to), to.body } end
  return done, problem
end

local function answer(socket, deadline, take)
  local head, piece = receive_head(socket, deadline)
  if not head then return nil, piece end
  local status, reader = tonumber(head:match("^http/1%.[01] (%d%d%d)")), reader_of(head)
  if not status then return nil, "no HTTP" end
  local streams = head:find("\r\ncontent%-type: *text/event%-stream") ~= nil
  while true do
    local own = reader:feed(piece)
    if not own then return nil, "no HTTP" end
    if not take(own, status, streams) then return nil, "too long" end
    if reader.is_over then return status end
    local problem
    piece, problem = receive(socket, deadline)
    if not piece then return problem == "closed" and getmetatable(reader) == Plain and not reader.left and status, problem end
  end
end

-- Ask, and hand `take` each piece of the answer, its status, and whether it is a stream: false from it ends the answer.
-- Returns the status of a whole answer; nothing, and what went wrong, of any other. `to` has the `address`, `port`, `host`,
-- `uri`, `key`, `id` and `body`; a backend's `marks` besides, and where it is asked over TLS, the `name` in its certificate.
function client.ask(to, seconds, take)
  local socket, deadline = ngx.socket.tcp(), ngx.now() + seconds
  local done, problem = open(socket, to)
  local status
  if done then status, problem = answer(socket, deadline, take) end
  socket:close()
  return status or nil, problem
end

return client
