-- Files that others of the pod replace while nginx runs: what changes in one holds without a reload.
local followed = { TOO_EARLY = {} }

-- Hand a file's text to `apply`, now and within `period` seconds of each change, and again where that says that it is too
-- early; while the file is not there, nothing changes.
function followed.start(path, period, apply)
  local content
  local function look()
    local file = io.open(path)
    if not file then return end
    local text = file:read("*a")
    file:close()
    if text == content then return end
    content = text
    if apply(text) == followed.TOO_EARLY then content = nil end
  end
  look()
  ngx.timer.every(period, function(premature)
    if not premature then look() end
  end)
end

return followed
