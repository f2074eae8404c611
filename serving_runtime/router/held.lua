-- Bytes that are held for a while: of each text no more than it may have, and of all together no more than a worker has
-- room for.
local held = { MOST_BYTES = 16 * 2 ^ 20 }
local Held = {}
Held.__index = Held
local all = 0

-- Nothing yet, of up to `longest` bytes.
function held.of(longest)
  return setmetatable({ pieces = {}, length = 0, longest = longest, is_left = false }, Held)
end

-- Hold another piece; where there is no room for it, none of it any more.
function Held:add(piece)
  if self.is_left then return false end
  if self.length + #piece > self.longest or all + #piece > held.MOST_BYTES then
    self:leave()
    return false
  end
  self.pieces[#self.pieces + 1] = piece
  self.length, all = self.length + #piece, all + #piece
  return true
end

function Held:text()
  return table.concat(self.pieces)
end

-- It is needed no more.
function Held:leave()
  all, self.length, self.pieces, self.is_left = all - self.length, 0, {}, true
end

return held
