"""What an object stands on, as a witness: photographs that agree about a plane see past the object, and those that do
not see the object before it.

    plane       the plane below the cameras that most structure-from-motion points lie in
    atlas       what colour the photographs agree about, place by place of that plane, and where they surely mean it
    labels      pixel by pixel: ground, object before it, or nothing known
    find        all of that from a capture, and what it leaves of space
"""
